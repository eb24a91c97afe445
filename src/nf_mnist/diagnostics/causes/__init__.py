"""Why a measured value is not what it should be: experiments, each of which shows one cause or rules it out."""
