"""Where pictures with captions come from: shards on disk, a user's own folder, and the emoji set.

Source: webdataset (Aizman, Maltby, Breuel 2019) for shards, Hugging Face's imagefolder for a user's own pictures.
"""
