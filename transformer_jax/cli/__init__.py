"""The command line: flags made from the configuration's fields, and one file per command (floor 7).

A command's file imports nothing that loads jax before `run`: a wrong flag is reported within two seconds.
"""
