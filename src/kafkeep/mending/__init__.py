"""A repository that is damaged: mended by adding what is missing, or its log built anew from its packs."""
