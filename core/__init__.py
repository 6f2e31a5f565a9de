"""The ground floor: each piece of plumbing once. It imports nothing of the project.

- ``errors``: the tree of exceptions whose messages are for the user
- ``workspace``: the workspace's folder and its home; ``layout``: every path below the home; ``git``
- ``files``: files that appear whole or not at all; ``locks``: locks that the kernel gives back
- ``processes``: a child's life tied to its parent's, signals; ``environment``: what a child process is given
- ``prefork``: programs forked from a process that has imported their libraries, which is ``prefork_server``;
  ``forks``: what a fork does to become a program; ``messages`` between processes, with open files
- ``sandbox``, ``seccomp``: programs that nobody has read, run where they can do no harm
- ``network``: addresses and ports of this machine
- ``dvc``: DVC's command line; ``dvc_lock``: ``dvc.lock`` and ``*.dvc`` files as they are
- ``parameters_file``: reading and writing ``params.yaml``
- ``events``: the log of events that a stage appends to and others follow
- ``mlflow_store``: MLflow's database in a home, also after the workspace was moved
- ``keys``: the home's signing key and the keys that are trusted here
- ``numbers``: numbers as people read them; ``text``: texts that come in bounded and go out harmless
"""
