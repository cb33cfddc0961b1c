// What a reader of the page chose: kept in the address, so that a reload and a link keep it; the theme in the browser.
const KEY = 'mm-dashboard';
const listeners = new Set();
const stored = (() => {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // private windows may refuse storage: the address is enough
  }
})();

export function get(name, otherwise) {
  return new URLSearchParams(location.search).get(name) ?? stored[name] ?? otherwise;
}

export function set(name, value) {
  const url = new URL(location.href);
  url.searchParams.set(name, value);
  history.replaceState(history.state, '', url);
  if (name === 'theme') {
    stored[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(stored));
    } catch {
      // as above
    }
  }
  for (const listener of listeners) listener(name, value);
}

export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls back when dark becomes light or light dark; returns how to end it. */
export function onTheme(listener) {
  let dark = isDark();
  const observer = new MutationObserver(() => {
    if (dark === isDark()) return;
    dark = isDark();
    document.body.dataset.agThemeMode = dark ? 'dark' : 'light';
    listener();
  });
  observer.observe(document.body, { attributeFilter: ['class'] });
  return () => observer.disconnect();
}

export const isDark = () => document.body.classList.contains('body--dark');

export function toggleTheme() {
  applyTheme(isDark() ? 'light' : 'dark');
  set('theme', isDark() ? 'dark' : 'light');
}

export function applyTheme(theme) {
  if (theme === 'dark' || theme === 'light') Quasar.Dark.set(theme === 'dark');
  document.body.dataset.agThemeMode = isDark() ? 'dark' : 'light';
}
