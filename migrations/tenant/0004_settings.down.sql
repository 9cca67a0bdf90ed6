DROP TABLE settings.setting;
DROP SCHEMA settings;
