"""Infinity's weights in the shapes that the published sizes have, which the recorded one is too small to show."""

import torch

from kiloword.published import page
from kiloword.published.page import fill, names_of


def test_the_query_that_pools_a_text_may_have_several_heads():
    infinity = page("infinity")
    config = infinity.parts({
        "depth": 2, "embed_dim": 64, "num_heads": 2, "text_channels": 256, "text_maxlen": 4, "d_vae_codebook_dim": 4,
    })  # fmt: skip
    model = config.build()
    query = torch.randn(1, 2, 32)  # as the authors keep it: a vector for each head
    state, names = model.state_dict(), names_of(infinity, config, model)
    sources = {source.names[0]: state[name] for name, source in names.items()}
    sources["block_chunks.0.module.0.ada_gss"] = sources["block_chunks.1.module.0.ada_gss"] = torch.randn(1, 1, 6, 64)
    fill(infinity, config, model, {**sources, "text_proj_for_sos.ca.mat_q": query})
    assert torch.equal(model.prompt.pool.query.view(2, 32), query[0])
    condition = model.prompt.read([torch.randn(3, 256)])
    assert condition.vector.shape == (1, 64) and condition.vector.isfinite().all()
