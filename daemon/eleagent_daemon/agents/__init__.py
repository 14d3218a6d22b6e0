"""Which agents does this release know, and which files come with each?"""
