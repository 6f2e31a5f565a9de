"""Everything that a team leaves running on one machine, started and kept up by one command (``stemma up``).

Modules, in reading order:

- ``state``: what runs in a workspace, for whoever wants to use it
- ``settings``: what was asked for, and everything that speaks against it
- ``services``: the four services as commands, with the address at which each tells that it is well
- ``supervisor``: starts them, waits, starts again what died, ends them all
"""
