"""Self-play beyond one machine: an order of numbered games, played by any workers, stored once.

In the order the data flows: `order` says what is to be played, `leases` who plays which of it,
`player` plays by the program trigo_selfplay, `local_pool` and `ray_pool` are where players run,
`store` keeps the games as Parquet files, `drive` joins them; `command` is the command line.
`simulate` is the same order on a made-up cluster of any size.
"""
