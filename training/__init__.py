"""The label-free trainer's command line: from a checkpoint and a guider to an expert file."""
