"""The causes of silence, injected into real hosts; what was seen, kept; and the judgement, made from that alone.

A scenario (scenarios/) plays on a stage (stage.py): hosts from a spec (fleet.py), a load over SMTP (load.py), agents of three stacks
(stacks/), faults (faults.py). All sides write one history (history.py). checkers.py and figures.py read nothing else, report.py draws.
"""
