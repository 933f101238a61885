#!/bin/bash
# The soak in its short form, four rounds: see tests/soak.sh, and "make soak" for the long one.
TIME=${SOAK_TIME:-12s} exec bash "$(dirname "$0")/../soak.sh"
