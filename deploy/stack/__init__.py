"""Everything that a team leaves running on one machine, started and kept running by one command (``stemma up``).

Modules, in reading order:

- ``state``: what runs in a workspace, for every command that uses it
- ``storage``: where the databases and artifacts are; ``settings``: the options, and the reasons not to start
- ``services``: the five services as commands, and how to see that each is healthy
- ``process``: their processes and logs; ``supervisor``: starts, watches, restarts and ends them
- ``tokens``: one for each service, and how commands and browsers come by it; ``guard``: asks for it
- ``mlflow_server``, ``prefect_server``: those servers in one process each, behind the guard
"""
