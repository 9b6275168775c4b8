"""The drills on staging hosts: reached over ssh alone, and left as they were found.

hosts.py says which hosts, and whether they may be broken; leash.py breaks one and heals it whatever happens to us; lodging.py makes the
drill's own inboxes and token; agent.py and reach.py run on the controller; stage.py is where a scenario plays; run.py plays them all.
"""
