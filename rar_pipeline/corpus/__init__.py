"""Raw files of many publishers to one table of movies, its title index, and the linker of mentions."""
