"""What runs on a host when a release is applied: standard library only, python 3.11 or newer.

Every function works below the root of a `Host`, so that all of it runs on a temporary root as well as on `/`.

    manifest   what a release contains            archive  how it travels
    store      releases kept on the host          files    what is in the tree of the live host
    changes    the live host against a release    trial    the whole tree tested before anything changes
    units      systemd                            health   is what was changed really up
    apply      one release to the next, and back  deadman  a firewall that locks us out goes away by itself
"""
