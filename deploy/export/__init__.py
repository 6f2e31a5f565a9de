"""A version of the registry as a folder that others use without Stemma.

- ``export``: the one function; what is written, whole or not at all
- ``card``: the model card; ``attestation``: the signatures beside the files
- ``gguf_file``: GGUF by the ``gguf`` package: ``gguf_families``, ``gguf_vocabulary``, ``weights``
- ``llama_cpp``: GGUF by the user's own llama.cpp
- ``ollama``: the ``Modelfile``, its template derived from the model's own
"""
