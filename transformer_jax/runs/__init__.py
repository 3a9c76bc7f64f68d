"""Runs: the work of each command, from files to files (floor 5; imports floors 0 to 4).

train, prepare, evaluate, translate, parse,    one file for each command: its function takes
score, bleu, evalb, digest, doctor             settings and paths
build          task and model from settings    search          text to answers, on all devices
trained_model  a loaded run                    ensemble       several that answer together
validation     evaluation during training
same_run, resuming, hooks, parts, patience,    the parts of `train`
device_errors, stop_signals, watchdog,
startup_report, profile
empty_splits, cut_sources, evaluation_files    parts of prepare, translate and evaluate
"""
