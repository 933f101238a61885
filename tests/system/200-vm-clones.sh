#!/bin/bash
# One snapshot of a real machine for each kernel, resumed more than once: tests/vm/run.sh, its short form.
exec bash "$(dirname "$0")/../vm/run.sh" short
