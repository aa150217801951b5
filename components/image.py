"""The image that every step runs in."""

import os

from greenlight.version import VERSION

COMPONENTS_IMAGE = os.environ.get("GREENLIGHT_COMPONENTS_IMAGE", f"greenlight-components:{VERSION}")
"""Read when the pipeline is compiled. Delivery sets it to a digest; kfp.local runs steps in this
interpreter and ignores it.
"""
