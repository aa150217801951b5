"""The image that every step runs in."""

import os

COMPONENTS_IMAGE = os.environ.get("GREENLIGHT_COMPONENTS_IMAGE", "greenlight-components:0.1.0")
"""Read when the pipeline is compiled. Delivery sets it to a digest; kfp.local runs steps in this
interpreter and ignores it.
"""
