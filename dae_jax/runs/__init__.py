"""Run directories: how a command trains, what it leaves behind, how it goes on."""
