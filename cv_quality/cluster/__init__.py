"""Keys handed to other processes, on this machine or others, through dask.distributed.

`addresses` says where a cluster is, `connecting` reaches or starts it, `work` is what its workers do, `running` hands
keys out and takes back what was done. What is done for a key is in `cv_quality.runner`, and is the same as in one
process.
"""
