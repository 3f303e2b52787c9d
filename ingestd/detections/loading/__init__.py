"""From folders of YAML and Python to detections ready to run, with every mistake in them."""
