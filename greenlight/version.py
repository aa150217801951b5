"""The version of Greenlight. Packaging, the Makefile and the images read it from here."""

VERSION = "0.1.0"
