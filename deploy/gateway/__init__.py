"""An OpenAI-compatible gateway to engines that run the registry's models.

From the outside in:

- ``__main__``: the command; ``settings``; ``app``: the HTTP application and the chat page
- ``connections``: deadlines, limits and strictness of HTTP itself; ``log_limits``
- ``access``: keys, rates and sizes, before a request is read; ``api_keys``; ``errors``; ``metrics``
- ``fair_queue``: a few slots, shared among keys
- ``schemas``: the requests; ``generation``, ``classification``, ``status``, ``arena``, ``feedback``, ``prepared``:
  the endpoints
- ``model_router``: finds the model that a request names; ``model_server``: keeps one model served, following its alias
- ``catalog``: the registry's aliases and verified files; ``deployment_log``: the registry's rows of deployments
- ``backends``: the engines that can be started; ``engine_process``: one of them that runs
- ``adapter_hosts``: processes that many adapters share, each over one base
- ``model_folder``: what a model's files say about it; ``prompt``: the tokens of a request; ``streaming``: its answer
- ``prompt_worker``: a program that counts a prompt's tokens; ``classification_engine``: one that serves classifiers
- ``client``: a conversation with a gateway; ``local_generation``: an answer without a gateway

The gateway imports no torch: an engine does, in a process of its own.
"""
