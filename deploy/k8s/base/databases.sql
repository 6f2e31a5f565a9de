-- Read once, by PostgreSQL's first start on an empty volume.
CREATE DATABASE registry;
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
