"""An OpenAI-compatible front before an engine that runs the registry's models.

Modules, from the outside in:

- ``__main__``: the command; ``settings``: what it was told; ``app``: the HTTP application
- ``routes``: one file an endpoint; ``contract``: what they take; ``errors``: how they refuse
- ``guard``: keys, rates and sizes, before a request is read; ``metrics``: what Prometheus is told
- ``fleet``, ``service``: which versions are served, following the registry; ``candidate``: making one ready;
  ``ledger``: the registry's deployments
- ``engine``: one running engine; ``engines``: which there are and how they are asked; ``process``: its process
- ``model_folder``: what a verified folder of a model says about itself; ``prompt``: how many tokens a request has
- ``relay``, ``stops``, ``collect``: answers, piece by piece or whole
- ``classify``: the engine for classifiers

It imports no torch: an engine does, in a process of its own.
"""
