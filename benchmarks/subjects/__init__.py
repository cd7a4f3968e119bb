"""What is measured: maitred itself and its peers, behind the protocol in `protocol.py`; `registry.py` lists them."""
