"""Sources that publish no file but an API: asked politely, record by record, and put together in the files of the mirrors' layout."""
