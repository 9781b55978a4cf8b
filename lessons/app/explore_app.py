# %% [markdown]
# # nbkit: explore
#
# `make app` serves this notebook as a web page, without its code, at an address with a token. Every visitor has workers of
# their own, which end when the page is closed, and saves files in the folder `results` beside this notebook. A reloaded page
# begins anew: save the runs that you want to keep before.

# %%
import nbkit
from nbkit import dashboards

dashboards.Explore(**nbkit.ARTICLE, max_new_tokens=20)
