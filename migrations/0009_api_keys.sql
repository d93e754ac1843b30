-- API keys are listed newest first, all of them or those of one community.

CREATE INDEX api_keys_newest ON api_keys (created_at DESC, key_id);
CREATE INDEX api_keys_of_community ON api_keys (community_id, created_at DESC, key_id);
