# %% [markdown]
# # nbkit: explore
#
# `make app` serves this notebook as a web page, without its code. Every visitor has workers of their own, which end
# when the page is closed.

# %%
import nbkit
from nbkit import dashboards

dashboards.Explore(**nbkit.ARTICLE, max_new_tokens=20)
