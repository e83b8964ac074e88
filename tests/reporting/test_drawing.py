"""Figures as plain data, held against plotly's own objects."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from steadytune.reporting.drawing import Drawing, plain_data


def drawn(figure):
    """Draw the same on either sort of figure."""
    figure.add_scatter(x=[1, 2], y=[0.5, None], mode="lines", line={"width": 2, "color": "#123456"}, name="one")
    figure.add_heatmap(z=[[1.0, None]], zmin=-1, zmax=1, colorscale=[[0, "#000000"], [1, "#ffffff"]])
    figure.add_annotation(x=1, y=1, yref="paper", text="here", showarrow=False)
    figure.add_vline(x=0, line={"width": 1})
    figure.update_layout({"height": 300, "margin": {"l": 1, "b": 46}, "showlegend": False}, xaxis={"range": [0, 1]})
    figure.update_layout(margin={"b": 90}, xaxis={"title": {"text": "x"}})
    return figure


def test_a_drawing_is_what_plotly_makes_of_the_same_calls():
    theirs = json.loads(drawn(go.Figure()).to_json())
    ours = drawn(Drawing()).plain()
    theirs["layout"].pop("template")
    # Plotly writes a colour scale in another, equal form.
    assert [list(pair) for pair in theirs["data"][1].pop("colorscale")] == ours["data"][1].pop("colorscale")
    assert ours == theirs


def test_numbers_of_other_libraries_become_plain_ones():
    given = {"a": np.float32(0.5), "b": np.arange(3), "c": pd.Series([1.0, np.nan]), "d": (True, None, "x", np.inf)}
    assert plain_data(given) == {"a": 0.5, "b": [0, 1, 2], "c": [1.0, None], "d": [True, None, "x", None]}
    assert json.dumps(plain_data(given))


def test_an_unknown_attribute_is_seen_by_plotly():
    figure = Drawing()
    figure.add_scatter(x=[1], colour="red")
    with pytest.raises(ValueError, match="colour"):
        go.Figure(figure.plain())
