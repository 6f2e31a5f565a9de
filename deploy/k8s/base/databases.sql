-- Read once, by PostgreSQL's first start on an empty volume. Each service has a role of its own; its password comes from
-- this container's environment. On a volume that is older, run it by hand, without what is there already.
\getenv prefect_password PREFECT_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD
\getenv registry_password REGISTRY_DATABASE_PASSWORD
\getenv gateway_password GATEWAY_DATABASE_PASSWORD
\getenv backup_password BACKUP_DATABASE_PASSWORD

-- Each of these owns its database and reaches no other. `registry` is that of the processes that run the flows.
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE ROLE registry LOGIN PASSWORD :'registry_password';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE registry OWNER registry;
REVOKE CONNECT, TEMPORARY ON DATABASE prefect, mlflow, registry FROM PUBLIC;

-- Back-ups and restores act in each database as its owner.
CREATE ROLE backup LOGIN PASSWORD :'backup_password';
GRANT prefect, mlflow, registry TO backup;
ALTER ROLE backup IN DATABASE prefect SET role = 'prefect';
ALTER ROLE backup IN DATABASE mlflow SET role = 'mlflow';
ALTER ROLE backup IN DATABASE registry SET role = 'registry';

-- The gateway reads the registry; `python -m deploy.docker.registry` lets it write what it deploys, and nothing else.
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password';
GRANT CONNECT ON DATABASE registry TO gateway;
\connect registry
ALTER DEFAULT PRIVILEGES FOR ROLE registry GRANT USAGE ON SCHEMAS TO gateway;
ALTER DEFAULT PRIVILEGES FOR ROLE registry GRANT SELECT ON TABLES TO gateway;
