"""trades, executions, pnl, signals, orders, dead-letters -> alerts, windowed sums, web views (Faust).

Low rate, at least once, never in the way of money: nothing on the money path waits for it or reads what it writes.
Only this package may import faust.
"""
