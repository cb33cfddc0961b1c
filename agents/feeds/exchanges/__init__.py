"""The exchanges whose public quotes `mm feed live` sends, by name."""

from agents.feeds.exchanges.binance import BINANCE
from agents.feeds.exchanges.coinbase import COINBASE
from agents.feeds.exchanges.exchange import Exchange
from agents.feeds.exchanges.kraken import KRAKEN

EXCHANGES: dict[str, Exchange] = {exchange.name: exchange for exchange in (COINBASE, BINANCE, KRAKEN)}
