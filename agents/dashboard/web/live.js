// The page's side of the data channel: one WebSocket, channels to callbacks. It only ever says what it shows.
const RETRY_MS = [250, 500, 1000, 2000];
const SILENT_MS = 6000; // the server speaks every second

const subscribers = new Map(); // channel -> Set of callbacks
const listeners = new Set(); // told of the connection's state
let socket = null;
let failures = 0;
let heard = 0;
let state = 'connecting';
let announced;

function setState(next) {
  state = next;
  for (const listener of listeners) listener(state);
}

function announce() {
  clearTimeout(announced);
  announced = setTimeout(() => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ channels: [...subscribers.keys()] }));
  }, 20);
}

/** Calls back with {all}, {put, drop}, {session} or whatever the channel holds; returns how to end it. */
export function subscribe(channel, callback) {
  if (!subscribers.has(channel)) subscribers.set(channel, new Set());
  subscribers.get(channel).add(callback);
  announce();
  return () => {
    const callbacks = subscribers.get(channel);
    callbacks?.delete(callback);
    if (callbacks && !callbacks.size) subscribers.delete(channel);
    announce();
  };
}

/** Asks for a channel's snapshot once more. */
export function refresh(channel) {
  const callbacks = subscribers.get(channel);
  subscribers.delete(channel);
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ channels: [...subscribers.keys()] }));
  if (callbacks) subscribers.set(channel, callbacks);
  announce();
}

/** Asks for a symbol's plot over the whole session; it comes on the symbol's own channel. */
export function requestSession(symbol) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ session: symbol }));
}

export function onState(listener) {
  listeners.add(listener);
  listener(state);
  return () => listeners.delete(listener);
}

function receive(event) {
  heard = performance.now();
  const message = JSON.parse(event.data);
  for (const channel in message) {
    for (const callback of subscribers.get(channel) ?? []) callback(message[channel]);
  }
}

// A WebSocket that is refused does not say why. Without a session there is a login page, with one there is another way.
async function loginIfAsked() {
  const answer = await fetch('/login', { redirect: 'manual', cache: 'no-store' }).catch(() => null);
  if (answer?.ok) location.reload();
}

function connect() {
  socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/live`);
  socket.onopen = () => {
    failures = 0;
    heard = performance.now();
    setState('live');
    announce();
  };
  socket.onmessage = receive;
  socket.onclose = () => {
    setState('reconnecting');
    if (failures > 1) loginIfAsked();
    setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  };
}

setInterval(() => {
  if (socket?.readyState === WebSocket.OPEN && performance.now() - heard > SILENT_MS) socket.close();
}, 1000);
connect();
