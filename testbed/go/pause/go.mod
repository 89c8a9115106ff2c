module observer-node/testbed/pause

go 1.26.0
