"""How a state is held that is larger than memory: sequences over pages, and the page store behind them."""
