"""Looking at a run: pictures of its learning curves, confusions and worst images."""
