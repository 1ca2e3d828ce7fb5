UPDATE setting SET value = value || '{"seen": true}' WHERE NOT value ? 'seen';
