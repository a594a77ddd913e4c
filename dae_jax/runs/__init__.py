"""Run directories: how a command trains, saves its models and resumes."""
