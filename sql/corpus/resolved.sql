-- Units that were found to be an earlier movie; filled batch by batch from matched.
CREATE TABLE resolved (unit VARCHAR, movie VARCHAR, found_by VARCHAR, outside VARCHAR)
