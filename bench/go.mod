module mtasts-server/bench

go 1.26.0
