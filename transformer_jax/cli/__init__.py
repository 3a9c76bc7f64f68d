"""The command line (floor 7): flags from the configuration's fields, and a file for each command.

A command's file imports nothing that loads jax before its `run`, so that a wrong flag is reported
within two seconds.
"""
