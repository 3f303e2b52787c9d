"""Work by the clock in the daemon: scheduled queries and correlation rules, each turn once."""
