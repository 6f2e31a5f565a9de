"""What a server of forked processes imports last.

What libraries make at their first use is made before: fonts, patterns, the readers of pictures. Then no process looks
at the libraries' objects to find garbage.
"""

import gc
import io

from matplotlib.figure import Figure
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("llama")
figure = Figure()
axes = figure.subplots()
axes.plot([1, 1000], [1, 1000], label="1")
axes.set(title="1", xlabel="1", ylabel="1", yscale="log")
axes.legend()
figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")

gc.collect()
gc.freeze()
