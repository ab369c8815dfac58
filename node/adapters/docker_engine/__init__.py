"""The Docker Engine behind `node.adapters.runtime`: one file per question that the runtime has to answer."""
