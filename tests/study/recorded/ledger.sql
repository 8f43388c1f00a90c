BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('dc11669786a5');
CREATE TABLE "assessments" (
	assessment_id VARCHAR(50) NOT NULL, 
	trace_id VARCHAR(50) NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	assessment_type VARCHAR(20) NOT NULL, 
	value TEXT NOT NULL, 
	error TEXT, 
	created_timestamp BIGINT NOT NULL, 
	last_updated_timestamp BIGINT NOT NULL, 
	source_type VARCHAR(50) NOT NULL, 
	source_id VARCHAR(250), 
	run_id VARCHAR(32), 
	span_id VARCHAR(50), 
	rationale TEXT, 
	overrides VARCHAR(50), 
	valid BOOLEAN NOT NULL, 
	assessment_metadata TEXT, 
	experiment_id INTEGER, 
	trace_timestamp_ms BIGINT, 
	aggregate_value FLOAT, 
	is_numeric_value BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT assessments_pk PRIMARY KEY (assessment_id), 
	CONSTRAINT fk_assessments_trace_id FOREIGN KEY(trace_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE budget_policies (
	budget_policy_id VARCHAR(36) NOT NULL, 
	budget_unit VARCHAR(32) NOT NULL, 
	budget_amount FLOAT NOT NULL, 
	duration_unit VARCHAR(32) NOT NULL, 
	duration_value INTEGER NOT NULL, 
	target_scope VARCHAR(32) NOT NULL, 
	budget_action VARCHAR(32) NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, target_value VARCHAR(255), 
	CONSTRAINT budget_policies_pk PRIMARY KEY (budget_policy_id)
);
CREATE TABLE "datasets" (
	dataset_uuid VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	digest VARCHAR(36) NOT NULL, 
	dataset_source_type VARCHAR(36) NOT NULL, 
	dataset_source TEXT NOT NULL, 
	dataset_schema TEXT, 
	dataset_profile TEXT, 
	CONSTRAINT dataset_pk PRIMARY KEY (experiment_id, name, digest), 
	CONSTRAINT fk_datasets_experiment_id_experiments FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE endpoint_bindings (
	endpoint_id VARCHAR(36) NOT NULL, 
	resource_type VARCHAR(50) NOT NULL, 
	resource_id VARCHAR(255) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), display_name VARCHAR(255), 
	CONSTRAINT endpoint_bindings_pk PRIMARY KEY (endpoint_id, resource_type, resource_id), 
	CONSTRAINT fk_endpoint_bindings_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE
);
CREATE TABLE endpoint_model_mappings (
	mapping_id VARCHAR(36) NOT NULL, 
	endpoint_id VARCHAR(36) NOT NULL, 
	model_definition_id VARCHAR(36) NOT NULL, 
	weight FLOAT NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, linkage_type VARCHAR(64) DEFAULT 'PRIMARY' NOT NULL, fallback_order INTEGER, 
	CONSTRAINT endpoint_model_mappings_pk PRIMARY KEY (mapping_id), 
	CONSTRAINT fk_endpoint_model_mappings_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE, 
	CONSTRAINT fk_endpoint_model_mappings_model_definition_id FOREIGN KEY(model_definition_id) REFERENCES model_definitions (model_definition_id)
);
CREATE TABLE endpoint_tags (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	endpoint_id VARCHAR(36) NOT NULL, 
	CONSTRAINT endpoint_tag_pk PRIMARY KEY ("key", endpoint_id), 
	CONSTRAINT fk_endpoint_tags_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE
);
CREATE TABLE "endpoints" (
	endpoint_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255), 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	routing_strategy VARCHAR(64), 
	fallback_config_json TEXT, 
	experiment_id INTEGER, 
	usage_tracking BOOLEAN DEFAULT '0' NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT endpoints_pk PRIMARY KEY (endpoint_id), 
	CONSTRAINT fk_endpoints_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE SET NULL, 
	CONSTRAINT uq_endpoints_workspace_name UNIQUE (workspace, name)
);
CREATE TABLE entity_associations (
	association_id VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, 
	created_time BIGINT, 
	CONSTRAINT entity_associations_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
CREATE TABLE "evaluation_dataset_records" (
	dataset_record_id VARCHAR(36) NOT NULL, 
	dataset_id VARCHAR(36) NOT NULL, 
	inputs JSON NOT NULL, 
	expectations JSON, 
	tags JSON, 
	source JSON, 
	source_id VARCHAR(36), 
	source_type VARCHAR(255), 
	created_time BIGINT, 
	last_update_time BIGINT, 
	created_by VARCHAR(255), 
	last_updated_by VARCHAR(255), 
	input_hash VARCHAR(64) NOT NULL, outputs JSON, 
	CONSTRAINT evaluation_dataset_records_pk PRIMARY KEY (dataset_record_id), 
	CONSTRAINT fk_evaluation_dataset_records_dataset_id FOREIGN KEY(dataset_id) REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE, 
	CONSTRAINT unique_dataset_input UNIQUE (dataset_id, input_hash)
);
CREATE TABLE evaluation_dataset_tags (
	dataset_id VARCHAR(36) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT evaluation_dataset_tags_pk PRIMARY KEY (dataset_id, "key"), 
	CONSTRAINT fk_evaluation_dataset_tags_dataset_id FOREIGN KEY(dataset_id) REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE
);
CREATE TABLE "evaluation_datasets" (
	dataset_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	schema TEXT, 
	profile TEXT, 
	digest VARCHAR(64), 
	created_time BIGINT, 
	last_update_time BIGINT, 
	created_by VARCHAR(255), 
	last_updated_by VARCHAR(255), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT evaluation_datasets_pk PRIMARY KEY (dataset_id)
);
CREATE TABLE "experiment_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	experiment_id INTEGER NOT NULL, 
	CONSTRAINT experiment_tag_pk PRIMARY KEY ("key", experiment_id), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
CREATE TABLE "experiments" (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), 
	creation_time BIGINT, 
	last_update_time BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT uq_experiments_workspace_name UNIQUE (workspace, name)
);
INSERT INTO "experiments" VALUES(0,'Default','/checkout/mlruns/0','active',1795728706451,1795728706451,'default');
INSERT INTO "experiments" VALUES(1,'recorded','file:///runs/mlartifacts','active',1795728706474,1795728706474,'default');
CREATE TABLE guardrail_configs (
	endpoint_id VARCHAR(36) NOT NULL, 
	guardrail_id VARCHAR(36) NOT NULL, 
	execution_order INTEGER, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT guardrail_configs_pk PRIMARY KEY (endpoint_id, guardrail_id), 
	CONSTRAINT fk_guardrail_configs_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE CASCADE, 
	CONSTRAINT fk_guardrail_configs_guardrail_id FOREIGN KEY(guardrail_id) REFERENCES guardrails (guardrail_id) ON DELETE CASCADE
);
CREATE TABLE guardrails (
	guardrail_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	scorer_version INTEGER NOT NULL, 
	stage VARCHAR(32) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	action_endpoint_id VARCHAR(36), 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT guardrails_pk PRIMARY KEY (guardrail_id), 
	CONSTRAINT fk_guardrails_scorer_version FOREIGN KEY(scorer_id, scorer_version) REFERENCES scorer_versions (scorer_id, scorer_version), 
	CONSTRAINT fk_guardrails_action_endpoint_id FOREIGN KEY(action_endpoint_id) REFERENCES endpoints (endpoint_id) ON DELETE SET NULL
);
CREATE TABLE input_tags (
	input_uuid VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	value VARCHAR(500) NOT NULL, 
	CONSTRAINT input_tags_pk PRIMARY KEY (input_uuid, name)
);
CREATE TABLE inputs (
	input_uuid VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, 
	CONSTRAINT inputs_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
CREATE TABLE issues (
	issue_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	description TEXT NOT NULL, 
	status VARCHAR(50) NOT NULL, 
	severity VARCHAR(50), 
	root_causes TEXT, 
	source_run_id VARCHAR(32), 
	categories TEXT, 
	created_timestamp BIGINT NOT NULL, 
	last_updated_timestamp BIGINT NOT NULL, 
	created_by VARCHAR(255), 
	CONSTRAINT issues_pk PRIMARY KEY (issue_id), 
	CONSTRAINT fk_issues_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT fk_issues_source_run_id FOREIGN KEY(source_run_id) REFERENCES runs (run_uuid) ON DELETE SET NULL
);
CREATE TABLE job_locks (
	lock_key VARCHAR(255) NOT NULL, 
	job_id VARCHAR(36) NOT NULL, 
	acquired_at BIGINT NOT NULL, 
	CONSTRAINT job_locks_pk PRIMARY KEY (lock_key), 
	CONSTRAINT fk_job_locks_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE "jobs" (
	id VARCHAR(36) NOT NULL, 
	creation_time BIGINT NOT NULL, 
	job_name VARCHAR(500) NOT NULL, 
	params TEXT NOT NULL, 
	timeout FLOAT, 
	status INTEGER NOT NULL, 
	result TEXT, 
	retry_count INTEGER NOT NULL, 
	last_update_time BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, status_details JSON, creator VARCHAR(255), executor_backend VARCHAR(255), lease_expires_at BIGINT, status_message TEXT, progress JSON, progress_updated_at BIGINT, token_hash VARCHAR(64), scoped_permissions JSON, next_attempt_at BIGINT, 
	CONSTRAINT jobs_pk PRIMARY KEY (id)
);
CREATE TABLE label_schemas (
	schema_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	instruction TEXT, 
	enable_comment BOOLEAN DEFAULT '0' NOT NULL, 
	input_type VARCHAR(32) NOT NULL, 
	input_config TEXT NOT NULL, 
	created_by VARCHAR(255), 
	created_time BIGINT NOT NULL, 
	last_update_time BIGINT NOT NULL, 
	is_default BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT label_schemas_pk PRIMARY KEY (schema_id), 
	CONSTRAINT fk_label_schemas_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT uq_label_schemas_exp_name UNIQUE (experiment_id, name)
);
CREATE TABLE "latest_metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT, 
	step BIGINT NOT NULL, 
	is_nan BOOLEAN NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT latest_metric_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "latest_metrics" VALUES('tokens',40960.0,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('train_flops',12087459840.0,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('hardware_flops',12087459840.0,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('train_loss',3.44816994667053222656e+00,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('grad_norm',1.37515532970428466796e+00,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('learning_rate',6.41019066867038432577e-04,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/00',1.88388302922248840332e-01,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/01',6.40397742390632629394e-02,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('tokens_per_second',3.41393730436130181252e+03,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('train_seconds',1.59577891379999527998e+01,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('train_loss_max',3.5374908447265625e+00,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('peak_memory_bytes',628256768.0,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('executed_flops',12087459840.0,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('tokens',40960.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('train_flops',15387328512.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('hardware_flops',15263072256.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('train_loss',3.09243512153625488281e+00,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('grad_norm',7.23026752471923828125e-01,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('learning_rate',6.19686039935254365414e-04,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('guide_share',0.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/00',2.04474166035652160644e-01,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/01',9.43610593676567077636e-02,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('tokens_per_second',3.10214293347775583249e+03,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('train_seconds',2.30762352090000604225e+01,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('train_loss_max',3.3668212890625,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('peak_memory_bytes',649965568.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('executed_flops',15387328512.0,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('val_loss',3.4124144911766052246e+00,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('bits_per_byte',4.92324230886087654823e+00,1795728786898,20,0,'8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "latest_metrics" VALUES('val_loss',3.14987874031066894531e+00,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('bits_per_byte',4.5444702928605371639e+00,1795728795253,28,0,'96040148cb4742be9a42d202b746391b');
INSERT INTO "latest_metrics" VALUES('train_seconds',1.4330789229998117662e+00,1795728787382,0,0,'b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "latest_metrics" VALUES('executed_flops',1133248512.0,1795728787382,0,0,'b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "latest_metrics" VALUES('hardware_flops',566624256.0,1795728787382,0,0,'b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "latest_metrics" VALUES('tokens',40960.0,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('train_flops',10781982720.0,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('hardware_flops',10781982720.0,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('train_loss',4.97199869155883789062e+00,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('grad_norm',1.84708440303802490234e+00,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('learning_rate',1.06836511144506391877e-04,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/00',1.09876565635204315185e-01,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/01',1.23969748616218566894e-01,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('tokens_per_second',4.73525844485342531711e+03,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('train_seconds',1.09164110049996452287e+01,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('train_loss_max',5.01057147979736328125e+00,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('peak_memory_bytes',680087552.0,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('executed_flops',10781982720.0,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('val_loss',4.96234297752380371093e+00,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('bits_per_byte',7.15939313972379309802e+00,1795728799916,20,0,'dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "latest_metrics" VALUES('tokens',40960.0,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('train_flops',10703339520.0,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('hardware_flops',10703339520.0,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('train_loss',3.43959498405456542968e+00,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('grad_norm',1.43356847763061523437e+00,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('learning_rate',6.41019066867038432577e-04,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/00',1.86976090073585510253e-01,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('layer_grad_norm/01',7.45641887187957763671e-02,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('tokens_per_second',4344.43334128829,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('train_seconds',1.08907260300002235449e+01,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('train_loss_max',3.5394077301025390625e+00,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('peak_memory_bytes',666443776.0,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('executed_flops',10703339520.0,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('val_loss',3.41511690616607666015e+00,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
INSERT INTO "latest_metrics" VALUES('bits_per_byte',4.92714120327908577934e+00,1795728806411,20,0,'3fc181481f644267acc284be368fa5e6');
CREATE TABLE logged_model_metrics (
	model_id VARCHAR(36) NOT NULL, 
	metric_name VARCHAR(500) NOT NULL, 
	metric_timestamp_ms BIGINT NOT NULL, 
	metric_step BIGINT NOT NULL, 
	metric_value FLOAT, 
	experiment_id INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	dataset_uuid VARCHAR(36), 
	dataset_name VARCHAR(500), 
	dataset_digest VARCHAR(36), 
	CONSTRAINT logged_model_metrics_pk PRIMARY KEY (model_id, metric_name, metric_timestamp_ms, metric_step, run_id), 
	CONSTRAINT fk_logged_model_metrics_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_metrics_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE, 
	CONSTRAINT fk_logged_model_metrics_run_id FOREIGN KEY(run_id) REFERENCES runs (run_uuid) ON DELETE CASCADE
);
CREATE TABLE logged_model_params (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	param_key VARCHAR(255) NOT NULL, 
	param_value TEXT NOT NULL, 
	CONSTRAINT logged_model_params_pk PRIMARY KEY (model_id, param_key), 
	CONSTRAINT fk_logged_model_params_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_params_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
CREATE TABLE logged_model_tags (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	tag_key VARCHAR(255) NOT NULL, 
	tag_value TEXT NOT NULL, 
	CONSTRAINT logged_model_tags_pk PRIMARY KEY (model_id, tag_key), 
	CONSTRAINT fk_logged_model_tags_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_logged_model_tags_model_id FOREIGN KEY(model_id) REFERENCES logged_models (model_id) ON DELETE CASCADE
);
CREATE TABLE logged_models (
	model_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	artifact_location VARCHAR(1000) NOT NULL, 
	creation_timestamp_ms BIGINT NOT NULL, 
	last_updated_timestamp_ms BIGINT NOT NULL, 
	status INTEGER NOT NULL, 
	lifecycle_stage VARCHAR(32), 
	model_type VARCHAR(500), 
	source_run_id VARCHAR(32), 
	status_message VARCHAR(1000), 
	CONSTRAINT logged_models_pk PRIMARY KEY (model_id), 
	CONSTRAINT logged_models_lifecycle_stage_check CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE mcp_access_endpoints (
	id VARCHAR(36) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	server_name VARCHAR(256) NOT NULL, 
	server_version VARCHAR(128), 
	server_alias VARCHAR(256), 
	url VARCHAR(2048) NOT NULL, 
	transport_type VARCHAR(32) DEFAULT 'streamable-http' NOT NULL, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_access_endpoints_pk PRIMARY KEY (id), 
	CONSTRAINT mcp_access_endpoints_server_fkey FOREIGN KEY(workspace, server_name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_aliases (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	alias VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	CONSTRAINT mcp_server_aliases_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT mcp_server_aliases_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_tags (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT mcp_server_tags_pk PRIMARY KEY (workspace, name, "key"), 
	CONSTRAINT mcp_server_tags_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_version_tags (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	CONSTRAINT mcp_server_version_tags_pk PRIMARY KEY (workspace, name, version, "key"), 
	CONSTRAINT mcp_server_version_tags_version_fkey FOREIGN KEY(workspace, name, version) REFERENCES mcp_server_versions (workspace, name, version) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_server_versions (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	version VARCHAR(128) NOT NULL, 
	version_major INTEGER NOT NULL, 
	version_minor INTEGER NOT NULL, 
	version_patch INTEGER NOT NULL, 
	version_prerelease_sort_key VARCHAR(512) NOT NULL, 
	server_json JSON NOT NULL, 
	status VARCHAR(20) DEFAULT 'draft' NOT NULL, 
	tools JSON, 
	source VARCHAR(512), 
	connect_options JSON, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_server_versions_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT mcp_server_versions_server_fkey FOREIGN KEY(workspace, name) REFERENCES mcp_servers (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE mcp_servers (
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	display_name VARCHAR(256), 
	description TEXT, 
	icons JSON, 
	created_by VARCHAR(256), 
	last_updated_by VARCHAR(256), 
	created_at BIGINT NOT NULL, 
	last_updated_at BIGINT NOT NULL, 
	CONSTRAINT mcp_servers_pk PRIMARY KEY (workspace, name)
);
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('tokens',10240.0,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('train_flops',3021864960.0,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('hardware_flops',3021864960.0,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('train_loss',4.72453498840332,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('grad_norm',1.44403767585754394531e+00,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('learning_rate',5.83717007612195252358e-03,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.48968666791915893554e-01,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.48501738905906677246e-01,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('tokens_per_second',2.64889575140042825306e+03,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('train_seconds',3.97063071499997022328e+00,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.45942783355712890625e+00,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',626630656.0,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('executed_flops',3021864960.0,1795728775018,'8cb7f93d26d248c5b3ba95bbef5ff599',5,0);
INSERT INTO "metrics" VALUES('tokens',10240.0,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('train_flops',2927493120.0,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('hardware_flops',2849832960.0,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('train_loss',4.71762418746948242187e+00,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('grad_norm',1.45934510231018066406e+00,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('learning_rate',0.00592154290705034,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('guide_share',0.5,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.82711049914360046386e-01,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.43821850419044494628e-01,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('tokens_per_second',2187.8866889415,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('train_seconds',4.88321887600022819242e+00,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.4433231353759765625e+00,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',637886464.0,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('executed_flops',2927493120.0,1795728777208,'96040148cb4742be9a42d202b746391b',5,0);
INSERT INTO "metrics" VALUES('tokens',20480.0,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('train_flops',6043729920.0,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('hardware_flops',6043729920.0,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('train_loss',3.88946652412414550781e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('grad_norm',1.57753109931945800781e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('learning_rate',4.22345438697930598836e-03,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',5.16304671764373779296e-02,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',5.47980256378650665283e-02,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('tokens_per_second',2.90279343397948969137e+03,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('train_seconds',7.63434574000029897433e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('train_loss_max',4.47209215164184570312e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',626933760.0,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('executed_flops',6043729920.0,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('val_loss',3.7549457550048828125e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('bits_per_byte',5.41742741285318185617e+00,1795728779313,'8cb7f93d26d248c5b3ba95bbef5ff599',10,0);
INSERT INTO "metrics" VALUES('tokens',20480.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('train_flops',5754322944.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('hardware_flops',5630066688.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('train_loss',3.86868906021118164062e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('grad_norm',1.57674002647399902343e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('learning_rate',5.09043117725014714752e-03,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('guide_share',0.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',8.26433673501014709472e-02,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',6.83890506625175476074e-02,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3632.59893131565,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('train_seconds',7.94596508400036327657e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('train_loss_max',4.4691753387451171875e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',646782976.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('executed_flops',5754322944.0,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('val_loss',3.71438765525817871093e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('bits_per_byte',5.35891243668124506172e+00,1795728780939,'96040148cb4742be9a42d202b746391b',10,0);
INSERT INTO "metrics" VALUES('tokens',30720.0,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('train_flops',9065594880.0,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('hardware_flops',9065594880.0,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('train_loss',3.47382664680480957031e+00,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('grad_norm',1.48202478885650634765e+00,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('learning_rate',1.95000000000000077785e-03,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',6.52810335159301757812e-02,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',4.80025410652160644531e-02,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.08712211021332177561e+03,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('train_seconds',1.183703233200003524e+01,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.8087062835693359375e+00,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',627884032.0,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('executed_flops',9065594880.0,1795728782874,'8cb7f93d26d248c5b3ba95bbef5ff599',15,0);
INSERT INTO "metrics" VALUES('tokens',30720.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('train_flops',8430157824.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('hardware_flops',8305901568.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('train_loss',3.38453841209411621093e+00,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('grad_norm',1.59512162208557128906e+00,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('learning_rate',3.62544903668937223278e-03,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('guide_share',0.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',7.0763593912124633789e-01,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.64866328239440917968e-01,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.31182080940717287376e+03,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('train_seconds',1.1930934318000254279e+01,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.72469115257263183593e+00,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',648982528.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('executed_flops',8430157824.0,1795728784229,'96040148cb4742be9a42d202b746391b',15,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('train_flops',12087459840.0,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('hardware_flops',12087459840.0,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('train_loss',3.44816994667053222656e+00,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('grad_norm',1.37515532970428466796e+00,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('learning_rate',6.41019066867038432577e-04,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.88388302922248840332e-01,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',6.40397742390632629394e-02,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.41393730436130181252e+03,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.48924613310000495403e+01,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.5374908447265625e+00,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',628256768.0,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('executed_flops',12087459840.0,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('val_loss',3.4124144911766052246e+00,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('bits_per_byte',4.92324230886087654823e+00,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.59577891379999527998e+01,1795728786898,'8cb7f93d26d248c5b3ba95bbef5ff599',20,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('train_flops',11105992704.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('hardware_flops',10981736448.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('train_loss',3.26286268234252929687e+00,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('grad_norm',1.23065543174743652343e+00,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('learning_rate',2.04524743548182511704e-03,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('guide_share',0.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',4.93599981069564819335e-01,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.85592830181121826171e-01,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.08091602555863255464e+03,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.53703731830000833724e+01,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.42535185813903808593e+00,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',648982528.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('executed_flops',11105992704.0,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('val_loss',3.22101926803588867187e+00,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('bits_per_byte',4.64710789942243085448e+00,1795728788571,'96040148cb4742be9a42d202b746391b',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.4330789229998117662e+00,1795728787382,'b2a970cf07794884b1c49eb7fdc04571',0,0);
INSERT INTO "metrics" VALUES('executed_flops',1133248512.0,1795728787382,'b2a970cf07794884b1c49eb7fdc04571',0,0);
INSERT INTO "metrics" VALUES('hardware_flops',566624256.0,1795728787382,'b2a970cf07794884b1c49eb7fdc04571',0,0);
INSERT INTO "metrics" VALUES('tokens',10240.0,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('train_flops',2695495680.0,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('hardware_flops',2695495680.0,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('train_loss',5.35445928573608398437e+00,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('grad_norm',1.56924140453338623046e+00,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('learning_rate',9.7286167935365882621e-04,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',4.32924509048461914062e-01,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',3.83625209331512451171e-01,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.32736575051699628611e+03,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('train_seconds',3.15888930099981735111e+00,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.53948259353637695312e+00,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',677638144.0,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('executed_flops',2695495680.0,1795728792338,'dc01066d486f4ad88d0d773be3bb9c4e',5,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('train_flops',13781827584.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('hardware_flops',13657571328.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('train_loss',3.32156920433044433593e+00,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('grad_norm',4.63691174983978271484e-01,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('learning_rate',9.09268730736333607653e-04,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('guide_share',0.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.37752547860145568847e-01,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',0.0626877173781395,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('tokens_per_second',2.80892609055998127599e+03,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('train_seconds',2.03175979630000256301e+01,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.36187386512756347656e+00,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',649965568.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('executed_flops',13781827584.0,1795728792616,'96040148cb4742be9a42d202b746391b',25,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('train_flops',15387328512.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('hardware_flops',15263072256.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('train_loss',3.09243512153625488281e+00,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('grad_norm',7.23026752471923828125e-01,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('learning_rate',6.19686039935254365414e-04,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('guide_share',0.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',2.04474166035652160644e-01,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',9.43610593676567077636e-02,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('tokens_per_second',3.10214293347775583249e+03,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('train_seconds',2.2351777358000163077e+01,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.3668212890625,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',649965568.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('executed_flops',15387328512.0,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('val_loss',3.14987874031066894531e+00,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('bits_per_byte',4.5444702928605371639e+00,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('train_seconds',2.30762352090000604225e+01,1795728795253,'96040148cb4742be9a42d202b746391b',28,0);
INSERT INTO "metrics" VALUES('tokens',20480.0,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('train_flops',5390991360.0,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('hardware_flops',5390991360.0,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('train_loss',5.14324235916137695312e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('grad_norm',1.77589631080627441406e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('learning_rate',7.03909064496551070341e-04,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.87254995107650756835e-01,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',2.92396277189254760742e-01,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.87793176775530173483e+03,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('train_seconds',5.32916077099980611819e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.28323841094970703125e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',677924864.0,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('executed_flops',5390991360.0,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('val_loss',5.10302674770355224609e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('bits_per_byte',7.36236387827559823904e+00,1795728794721,'dc01066d486f4ad88d0d773be3bb9c4e',10,0);
INSERT INTO "metrics" VALUES('tokens',30720.0,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('train_flops',8086487040.0,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('hardware_flops',8086487040.0,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('train_loss',5.00751781463623046875e+00,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('grad_norm',1.869297027587890625e+00,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('learning_rate',3.25000000000000093501e-04,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.55453547835350036621e-01,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.95632636547088623046e-01,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.58751618788267296602e+03,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('train_seconds',8.04323580099981,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.12786579132080078125e+00,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',680087552.0,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('executed_flops',8086487040.0,1795728797170,'dc01066d486f4ad88d0d773be3bb9c4e',15,0);
INSERT INTO "metrics" VALUES('tokens',10240.0,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('train_flops',2675834880.0,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('hardware_flops',2675834880.0,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('train_loss',4.72081184387207,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('grad_norm',1.44812595844268798828e+00,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('learning_rate',5.83717007612195252358e-03,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.65111437439918518066e-01,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.49283096194267272949e-01,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.04954872481622351167e+03,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('train_seconds',2.58801873500033252639e+00,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.4433231353759765625e+00,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',663928832.0,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('executed_flops',2675834880.0,1795728798198,'3fc181481f644267acc284be368fa5e6',5,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('train_flops',10781982720.0,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('hardware_flops',10781982720.0,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('train_loss',4.97199869155883789062e+00,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('grad_norm',1.84708440303802490234e+00,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('learning_rate',1.06836511144506391877e-04,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.09876565635204315185e-01,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',1.23969748616218566894e-01,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.73525844485342531711e+03,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.02249293589998160316e+01,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('train_loss_max',5.01057147979736328125e+00,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',680087552.0,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('executed_flops',10781982720.0,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('val_loss',4.96234297752380371093e+00,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('bits_per_byte',7.15939313972379309802e+00,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.09164110049996452287e+01,1795728799916,'dc01066d486f4ad88d0d773be3bb9c4e',20,0);
INSERT INTO "metrics" VALUES('tokens',20480.0,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('train_flops',5351669760.0,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('hardware_flops',5351669760.0,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('train_loss',3.90717315673828125e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('grad_norm',1.59137713909149169921e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('learning_rate',4.22345438697930598836e-03,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',7.73259997367858886718e-02,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',6.31826594471931457519e-02,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.23259121582398165637e+03,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('train_seconds',5.08106795899993812781e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('train_loss_max',4.47392320632934570312e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',664346624.0,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('executed_flops',5351669760.0,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('val_loss',3.77667224407196044921e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('bits_per_byte',5.44877318590467218939e+00,1795728801014,'3fc181481f644267acc284be368fa5e6',10,0);
INSERT INTO "metrics" VALUES('tokens',30720.0,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('train_flops',8027504640.0,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('hardware_flops',8027504640.0,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('train_loss',3.486843109130859375e+00,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('grad_norm',1.53271961212158203125e+00,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('learning_rate',1.95000000000000077785e-03,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.59154787659645080566e-01,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',6.30135014653205871582e-02,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4.97430748083400885682e+03,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('train_seconds',7.61987050400011867168e+00,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.83077549934387207031e+00,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',666443776.0,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('executed_flops',8027504640.0,1795728803204,'3fc181481f644267acc284be368fa5e6',15,0);
INSERT INTO "metrics" VALUES('tokens',40960.0,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('train_flops',10703339520.0,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('hardware_flops',10703339520.0,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('train_loss',3.43959498405456542968e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('grad_norm',1.43356847763061523437e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('learning_rate',6.41019066867038432577e-04,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/00',1.86976090073585510253e-01,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('layer_grad_norm/01',7.45641887187957763671e-02,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('tokens_per_second',4344.43334128829,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('train_seconds',9.98797194999997373088e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('train_loss_max',3.5394077301025390625e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('peak_memory_bytes',666443776.0,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('executed_flops',10703339520.0,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('val_loss',3.41511690616607666015e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('bits_per_byte',4.92714120327908577934e+00,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
INSERT INTO "metrics" VALUES('train_seconds',1.08907260300002235449e+01,1795728806411,'3fc181481f644267acc284be368fa5e6',20,0);
CREATE TABLE "model_definitions" (
	model_definition_id VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	secret_id VARCHAR(36), 
	provider VARCHAR(64) NOT NULL, 
	model_name VARCHAR(256) NOT NULL, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_definitions_pk PRIMARY KEY (model_definition_id), 
	CONSTRAINT fk_model_definitions_secret_id FOREIGN KEY(secret_id) REFERENCES secrets (secret_id) ON DELETE SET NULL, 
	CONSTRAINT uq_model_definitions_workspace_name UNIQUE (workspace, name)
);
CREATE TABLE "model_version_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT, 
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_tag_pk PRIMARY KEY (workspace, "key", name, version), 
	CONSTRAINT fk_model_version_tags_model_versions FOREIGN KEY(workspace, name, version) REFERENCES model_versions (workspace, name, version) ON UPDATE CASCADE
);
CREATE TABLE "model_versions" (
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	user_id VARCHAR(256), 
	current_stage VARCHAR(20), 
	source VARCHAR(500), 
	run_id VARCHAR(32), 
	status VARCHAR(20), 
	status_message VARCHAR(500), 
	run_link VARCHAR(500), 
	storage_location VARCHAR(500), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT model_version_pk PRIMARY KEY (workspace, name, version), 
	CONSTRAINT fk_model_versions_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
CREATE TABLE online_scoring_configs (
	online_scoring_config_id VARCHAR(36) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	sample_rate FLOAT NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	filter_string TEXT, 
	CONSTRAINT online_scoring_config_pk PRIMARY KEY (online_scoring_config_id), 
	CONSTRAINT fk_online_scoring_configs_scorer_id FOREIGN KEY(scorer_id) REFERENCES scorers (scorer_id) ON DELETE CASCADE, 
	CONSTRAINT fk_online_scoring_configs_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('preset','pico','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('width','1.0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('arm','lowrank 31.25% guided 0.4','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('ffn_kind','lowrank','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('ffn_rank','8','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('ffn_fraction','0.3125','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('guide_ratio','0.4','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('guide_mode','fixed_flops','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('params','28064','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('ffn_params','10752','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('tokens','40960','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('steps','20','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('train_flops','15387328512','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('flop_convention','paper','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('learning_rate','0.006','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('seed','0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.position','rope','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.rope_base','10000.0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.rope_interpolation','1.0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.norm','layernorm','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.activation','gelu','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.tie_embeddings','True','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.bias','True','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.dropout','0.0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.inverse_layer_scale','False','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.vocab_size','257','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.block_size','128','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.num_layers','2','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.hidden_dim','32','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.ffn_dim','128','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.attn_dim','32','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.num_heads','2','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.num_kv_heads','2','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.ffn.kind','lowrank','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.ffn.rank','8','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.ffn.keep_first_dense','True','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.guide.mode','fixed_flops','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.guide.reduce_flops','True','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.guide.schedule','cosine','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.guide.init','effective','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('model.guide.ratio','0.4','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('data.source','python-stdlib','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('data.tokenizer','byte','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('data.val_fraction','0.05','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('data.fingerprint','e09c3d3cebdbb493','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.min_learning_rate_ratio','0.1','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.warmup_fraction','0.1','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.betas','[0.9, 0.999]','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.weight_decay','0.1','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.decay','all','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.max_grad_norm','1.0','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('optimizer.learning_rate','0.006','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('batch_size','16','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('eval_tokens','8192','96040148cb4742be9a42d202b746391b');
INSERT INTO "params" VALUES('preset','pico','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('width','1.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('arm','dense','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('ffn_kind','dense','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('ffn_fraction','1.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('params','33696','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('ffn_params','16384','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('tokens','40960','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('steps','20','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('train_flops','12087459840','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('flop_convention','paper','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('learning_rate','0.006','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('seed','0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.position','rope','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.rope_base','10000.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.rope_interpolation','1.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.norm','layernorm','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.activation','gelu','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.tie_embeddings','True','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.bias','True','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.dropout','0.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.inverse_layer_scale','False','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.vocab_size','257','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.block_size','128','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.num_layers','2','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.hidden_dim','32','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.ffn_dim','128','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.attn_dim','32','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.num_heads','2','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.num_kv_heads','2','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.ffn.kind','dense','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('model.ffn.keep_first_dense','True','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('data.source','python-stdlib','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('data.tokenizer','byte','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('data.val_fraction','0.05','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('data.fingerprint','e09c3d3cebdbb493','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.min_learning_rate_ratio','0.1','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.warmup_fraction','0.1','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.betas','[0.9, 0.999]','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.weight_decay','0.1','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.decay','all','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.max_grad_norm','1.0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('optimizer.learning_rate','0.006','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('batch_size','16','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('eval_tokens','8192','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "params" VALUES('preset','pico','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('width','1.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('arm','blockshuffle b2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('ffn_kind','blockshuffle','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('ffn_nblocks','2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('ffn_fraction','0.625','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('params','30624','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('ffn_params','13312','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('tokens','40960','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('steps','20','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('train_flops','11332485120','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('flop_convention','paper','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('learning_rate','200000.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('seed','1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.position','rope','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.rope_base','10000.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.rope_interpolation','1.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.norm','layernorm','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.activation','gelu','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.tie_embeddings','True','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.bias','True','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.dropout','0.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.inverse_layer_scale','False','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.vocab_size','257','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.block_size','128','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.num_layers','2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.hidden_dim','32','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.ffn_dim','128','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.attn_dim','32','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.num_heads','2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.num_kv_heads','2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.ffn.kind','blockshuffle','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.ffn.nblocks','2','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('model.ffn.keep_first_dense','True','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('data.source','python-stdlib','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('data.tokenizer','byte','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('data.val_fraction','0.05','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('data.fingerprint','e09c3d3cebdbb493','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.min_learning_rate_ratio','0.1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.warmup_fraction','0.1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.betas','[0.9, 0.999]','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.weight_decay','0.1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.decay','all','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.max_grad_norm','1.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('optimizer.learning_rate','200000.0','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('batch_size','16','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('eval_tokens','8192','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "params" VALUES('preset','pico','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('width','1.0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('arm','blockdense 31.25% b2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('ffn_kind','blockdense','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('ffn_rank','12','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('ffn_nblocks','2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('ffn_fraction','0.3515625','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('params','28384','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('ffn_params','11072','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('tokens','40960','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('steps','20','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('train_flops','10781982720','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('flop_convention','paper','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('learning_rate','0.001','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('seed','0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.position','rope','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.rope_base','10000.0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.rope_interpolation','1.0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.norm','layernorm','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.activation','gelu','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.tie_embeddings','True','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.bias','True','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.dropout','0.0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.inverse_layer_scale','False','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.vocab_size','257','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.block_size','128','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.num_layers','2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.hidden_dim','32','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.ffn_dim','128','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.attn_dim','32','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.num_heads','2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.num_kv_heads','2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.ffn.kind','blockdense','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.ffn.rank','12','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.ffn.nblocks','2','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('model.ffn.keep_first_dense','True','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('data.source','python-stdlib','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('data.tokenizer','byte','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('data.val_fraction','0.05','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('data.fingerprint','e09c3d3cebdbb493','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.min_learning_rate_ratio','0.1','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.warmup_fraction','0.1','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.betas','[0.9, 0.999]','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.weight_decay','0.1','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.decay','all','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.max_grad_norm','1.0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('optimizer.learning_rate','0.001','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('batch_size','16','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('eval_tokens','8192','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "params" VALUES('preset','pico','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('width','1.0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('arm','lowrank 31.25%','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('ffn_kind','lowrank','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('ffn_rank','8','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('ffn_fraction','0.3125','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('params','28064','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('ffn_params','10752','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('tokens','40960','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('steps','20','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('train_flops','10703339520','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('flop_convention','paper','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('learning_rate','0.006','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('seed','0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.position','rope','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.rope_base','10000.0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.rope_interpolation','1.0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.norm','layernorm','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.activation','gelu','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.tie_embeddings','True','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.bias','True','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.dropout','0.0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.inverse_layer_scale','False','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.vocab_size','257','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.block_size','128','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.num_layers','2','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.hidden_dim','32','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.ffn_dim','128','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.attn_dim','32','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.num_heads','2','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.num_kv_heads','2','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.ffn.kind','lowrank','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.ffn.rank','8','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('model.ffn.keep_first_dense','True','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('data.source','python-stdlib','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('data.tokenizer','byte','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('data.val_fraction','0.05','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('data.fingerprint','e09c3d3cebdbb493','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.min_learning_rate_ratio','0.1','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.warmup_fraction','0.1','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.betas','[0.9, 0.999]','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.weight_decay','0.1','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.decay','all','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.max_grad_norm','1.0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('optimizer.learning_rate','0.006','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('batch_size','16','3fc181481f644267acc284be368fa5e6');
INSERT INTO "params" VALUES('eval_tokens','8192','3fc181481f644267acc284be368fa5e6');
CREATE TABLE "registered_model_aliases" (
	alias VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_alias_pk PRIMARY KEY (workspace, name, alias), 
	CONSTRAINT fk_registered_model_aliases_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE TABLE "registered_model_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_tag_pk PRIMARY KEY (workspace, "key", name), 
	CONSTRAINT fk_registered_model_tags_registered_models FOREIGN KEY(workspace, name) REFERENCES registered_models (workspace, name) ON UPDATE CASCADE
);
CREATE TABLE "registered_models" (
	name VARCHAR(256) NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT registered_model_pk PRIMARY KEY (workspace, name)
);
CREATE TABLE review_queue_items (
	queue_id VARCHAR(36) NOT NULL, 
	item_type VARCHAR(16) NOT NULL, 
	item_id VARCHAR(50) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	completed_by VARCHAR(250), 
	completed_time_ms BIGINT, 
	creation_time_ms BIGINT NOT NULL, 
	last_update_time_ms BIGINT NOT NULL, 
	CONSTRAINT review_queue_items_pk PRIMARY KEY (queue_id, item_id), 
	CONSTRAINT fk_review_queue_items_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queue_label_schemas (
	queue_id VARCHAR(36) NOT NULL, 
	schema_id VARCHAR(36) NOT NULL, 
	CONSTRAINT review_queue_label_schemas_pk PRIMARY KEY (queue_id, schema_id), 
	CONSTRAINT fk_review_queue_label_schemas_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queue_users (
	queue_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(250) NOT NULL, 
	CONSTRAINT review_queue_users_pk PRIMARY KEY (queue_id, user_id), 
	CONSTRAINT fk_review_queue_users_queue_id FOREIGN KEY(queue_id) REFERENCES review_queues (queue_id) ON DELETE CASCADE
);
CREATE TABLE review_queues (
	queue_id VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(250) NOT NULL, 
	queue_type VARCHAR(16) NOT NULL, 
	created_by VARCHAR(255), 
	creation_time_ms BIGINT NOT NULL, 
	last_update_time_ms BIGINT NOT NULL, 
	name_key VARCHAR(250) NOT NULL, 
	CONSTRAINT review_queues_pk PRIMARY KEY (queue_id), 
	CONSTRAINT fk_review_queues_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE, 
	CONSTRAINT uq_review_queues_experiment_name_key UNIQUE (experiment_id, name_key)
);
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('7fc03e4c76a7464e96dc3fa9f987e50a','recorded','UNKNOWN','','','unknown','FINISHED',1795728706604,1795728806738,'','active','file:///runs/mlartifacts/7fc03e4c76a7464e96dc3fa9f987e50a/artifacts',1,NULL);
INSERT INTO "runs" VALUES('96040148cb4742be9a42d202b746391b','pico-lowrank-r8-guided0.4-c1.54e10-seed0','UNKNOWN','','','unknown','FINISHED',1795728764045,1795728795754,'','active','file:///runs/mlartifacts/96040148cb4742be9a42d202b746391b/artifacts',1,NULL);
INSERT INTO "runs" VALUES('8cb7f93d26d248c5b3ba95bbef5ff599','pico-dense-c1.21e10-seed0','UNKNOWN','','','unknown','FINISHED',1795728764596,1795728787364,'','active','file:///runs/mlartifacts/8cb7f93d26d248c5b3ba95bbef5ff599/artifacts',1,NULL);
INSERT INTO "runs" VALUES('b2a970cf07794884b1c49eb7fdc04571','pico-blockshuffle-b2-c1.13e10-lr200000-seed1','UNKNOWN','','','unknown','FAILED',1795728787382,1795728793601,'','active','file:///runs/mlartifacts/b2a970cf07794884b1c49eb7fdc04571/artifacts',1,NULL);
INSERT INTO "runs" VALUES('dc01066d486f4ad88d0d773be3bb9c4e','pico-blockdense-r12-b2-c1.08e10-lr0.001-seed0','UNKNOWN','','','unknown','FINISHED',1795728793720,1795728800137,'','active','file:///runs/mlartifacts/dc01066d486f4ad88d0d773be3bb9c4e/artifacts',1,NULL);
INSERT INTO "runs" VALUES('3fc181481f644267acc284be368fa5e6','pico-lowrank-r8-c1.07e10-seed0','UNKNOWN','','','unknown','FINISHED',1795728795945,1795728806685,'','active','file:///runs/mlartifacts/3fc181481f644267acc284be368fa5e6/artifacts',1,NULL);
CREATE TABLE scheduler_leases (
	lease_key VARCHAR(255) NOT NULL, 
	acquired_at BIGINT NOT NULL, 
	ttl_seconds INTEGER NOT NULL, 
	CONSTRAINT scheduler_leases_pk PRIMARY KEY (lease_key)
);
CREATE TABLE scorer_versions (
	scorer_id VARCHAR(36) NOT NULL, 
	scorer_version INTEGER NOT NULL, 
	serialized_scorer TEXT NOT NULL, 
	creation_time BIGINT, 
	CONSTRAINT scorer_version_pk PRIMARY KEY (scorer_id, scorer_version), 
	CONSTRAINT fk_scorer_versions_scorer_id FOREIGN KEY(scorer_id) REFERENCES scorers (scorer_id) ON DELETE CASCADE
);
CREATE TABLE scorers (
	experiment_id INTEGER NOT NULL, 
	scorer_name VARCHAR(256) NOT NULL, 
	scorer_id VARCHAR(36) NOT NULL, 
	CONSTRAINT scorer_pk PRIMARY KEY (scorer_id), 
	CONSTRAINT fk_scorers_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE "secrets" (
	secret_id VARCHAR(36) NOT NULL, 
	secret_name VARCHAR(255) NOT NULL, 
	encrypted_value BLOB NOT NULL, 
	wrapped_dek BLOB NOT NULL, 
	kek_version INTEGER NOT NULL, 
	masked_value VARCHAR(500) NOT NULL, 
	provider VARCHAR(64), 
	auth_config TEXT, 
	description TEXT, 
	created_by VARCHAR(255), 
	created_at BIGINT NOT NULL, 
	last_updated_by VARCHAR(255), 
	last_updated_at BIGINT NOT NULL, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT secrets_pk PRIMARY KEY (secret_id), 
	CONSTRAINT uq_secrets_workspace_secret_name UNIQUE (workspace, secret_name)
);
CREATE TABLE span_metrics (
	trace_id VARCHAR(50) NOT NULL, 
	span_id VARCHAR(50) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT, 
	CONSTRAINT span_metrics_pk PRIMARY KEY (trace_id, span_id, "key"), 
	CONSTRAINT fk_span_metrics_span FOREIGN KEY(trace_id, span_id) REFERENCES spans (trace_id, span_id) ON DELETE CASCADE
);
CREATE TABLE "spans" (
	trace_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	span_id VARCHAR(50) NOT NULL, 
	parent_span_id VARCHAR(50), 
	name TEXT, 
	type VARCHAR(500), 
	status VARCHAR(50) NOT NULL, 
	start_time_unix_nano BIGINT NOT NULL, 
	end_time_unix_nano BIGINT, 
	duration_ns BIGINT GENERATED ALWAYS AS (end_time_unix_nano - start_time_unix_nano) STORED, 
	content TEXT NOT NULL, 
	input_cost FLOAT, 
	output_cost FLOAT, 
	total_cost FLOAT, 
	model_name VARCHAR(500), 
	model_provider VARCHAR(500), 
	CONSTRAINT spans_pk PRIMARY KEY (trace_id, span_id), 
	CONSTRAINT fk_spans_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CONSTRAINT fk_spans_trace_id FOREIGN KEY(trace_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE sql_assessment_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	CONSTRAINT sql_assessment_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_span_cost_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	model_name VARCHAR(500), 
	model_provider VARCHAR(500), 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	CONSTRAINT sql_span_cost_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_trace_metric_daily_rollups (
	id INTEGER NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	metric_name VARCHAR(250) NOT NULL, 
	grouping_set VARCHAR(50) NOT NULL, 
	trace_status VARCHAR(50), 
	sample_count BIGINT NOT NULL, 
	sum_value FLOAT, 
	min_value FLOAT, 
	max_value FLOAT, 
	p50_value FLOAT, 
	p90_value FLOAT, 
	p99_value FLOAT, 
	CONSTRAINT sql_trace_metric_daily_rollups_pk PRIMARY KEY (id)
);
CREATE TABLE sql_trace_rollup_rebuild_queue (
	experiment_id INTEGER NOT NULL, 
	rollup_day DATE NOT NULL, 
	rollup_family VARCHAR(50) NOT NULL, 
	CONSTRAINT sql_trace_rollup_rebuild_queue_pk PRIMARY KEY (experiment_id, rollup_day, rollup_family)
);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('role','study','7fc03e4c76a7464e96dc3fa9f987e50a');
INSERT INTO "tags" VALUES('study','recorded','7fc03e4c76a7464e96dc3fa9f987e50a');
INSERT INTO "tags" VALUES('mlflow.runName','recorded','7fc03e4c76a7464e96dc3fa9f987e50a');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','7fc03e4c76a7464e96dc3fa9f987e50a');
INSERT INTO "tags" VALUES('driver','','7fc03e4c76a7464e96dc3fa9f987e50a');
INSERT INTO "tags" VALUES('mlflow.parentRunId','7fc03e4c76a7464e96dc3fa9f987e50a','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('study','recorded','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('point_id','pico-lowrank-r8-guided0.4-c1.54e10-seed0','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('fingerprint','ba34b08464dfaa78','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('identity','{"model": {"position": "rope", "rope_base": 10000.0, "rope_interpolation": 1.0, "norm": "layernorm", "activation": "gelu", "tie_embeddings": true, "bias": true, "dropout": 0.0, "inverse_layer_scale": false, "vocab_size": 257, "block_size": 128, "num_layers": 2, "hidden_dim": 32, "ffn_dim": 128, "attn_dim": 32, "num_heads": 2, "num_kv_heads": 2, "ffn": {"kind": "lowrank", "rank": 8, "nblocks": null, "keep_first_dense": true}, "guide": {"mode": "fixed_flops", "reduce_flops": true, "schedule": "cosine", "init": "effective", "ratio": 0.4}}, "data": {"source": "python-stdlib", "tokenizer": "byte", "val_fraction": 0.05, "fingerprint": "e09c3d3cebdbb493"}, "optimizer": {"min_learning_rate_ratio": 0.1, "warmup_fraction": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay": "all", "max_grad_norm": 1.0, "learning_rate": 0.006}, "batch_size": 16, "steps": 20, "seed": 0, "eval_tokens": 8192}','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('variant','{"preset":"pico","ffn":{"kind":"lowrank","fraction":0.3125},"guide":{"ratio":0.4}}','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('status','finished','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('dirty','False','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('mlflow.runName','pico-lowrank-r8-guided0.4-c1.54e10-seed0','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('mlflow.parentRunId','7fc03e4c76a7464e96dc3fa9f987e50a','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('study','recorded','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('point_id','pico-dense-c1.21e10-seed0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('fingerprint','9fa97cdf5ce24450','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('identity','{"model": {"position": "rope", "rope_base": 10000.0, "rope_interpolation": 1.0, "norm": "layernorm", "activation": "gelu", "tie_embeddings": true, "bias": true, "dropout": 0.0, "inverse_layer_scale": false, "vocab_size": 257, "block_size": 128, "num_layers": 2, "hidden_dim": 32, "ffn_dim": 128, "attn_dim": 32, "num_heads": 2, "num_kv_heads": 2, "ffn": {"kind": "dense", "rank": null, "nblocks": null, "keep_first_dense": true}, "guide": null}, "data": {"source": "python-stdlib", "tokenizer": "byte", "val_fraction": 0.05, "fingerprint": "e09c3d3cebdbb493"}, "optimizer": {"min_learning_rate_ratio": 0.1, "warmup_fraction": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay": "all", "max_grad_norm": 1.0, "learning_rate": 0.006}, "batch_size": 16, "steps": 20, "seed": 0, "eval_tokens": 8192}','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('variant','{"preset":"pico","ffn":{}}','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('status','finished','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('dirty','False','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('mlflow.runName','pico-dense-c1.21e10-seed0','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('hardware','AMD EPYC (2 CPUs)','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('precision','fp32','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('kernel_path','attention=sdpa bias_activation=torch block_dense=torch block_shuffle=torch cross_entropy=torch feed_forward=torch gemm=onednn rotary=torch self_guided=torch','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('num_threads','1','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('torch','2.13.0+cpu','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('cuda','None','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('triton','3.7.1','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('python','3.11.7','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('host','workstation','8cb7f93d26d248c5b3ba95bbef5ff599');
INSERT INTO "tags" VALUES('mlflow.parentRunId','7fc03e4c76a7464e96dc3fa9f987e50a','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('study','recorded','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('point_id','pico-blockshuffle-b2-c1.13e10-lr200000-seed1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('fingerprint','2fd5e4ca46598b21','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('identity','{"model": {"position": "rope", "rope_base": 10000.0, "rope_interpolation": 1.0, "norm": "layernorm", "activation": "gelu", "tie_embeddings": true, "bias": true, "dropout": 0.0, "inverse_layer_scale": false, "vocab_size": 257, "block_size": 128, "num_layers": 2, "hidden_dim": 32, "ffn_dim": 128, "attn_dim": 32, "num_heads": 2, "num_kv_heads": 2, "ffn": {"kind": "blockshuffle", "rank": null, "nblocks": 2, "keep_first_dense": true}, "guide": null}, "data": {"source": "python-stdlib", "tokenizer": "byte", "val_fraction": 0.05, "fingerprint": "e09c3d3cebdbb493"}, "optimizer": {"min_learning_rate_ratio": 0.1, "warmup_fraction": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay": "all", "max_grad_norm": 1.0, "learning_rate": 200000.0}, "batch_size": 16, "steps": 20, "seed": 1, "eval_tokens": 8192}','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('variant','{"preset":"pico","ffn":{"kind":"blockshuffle","nblocks":2},"learning_rate":200000.0,"seed":1}','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('status','diverged','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('dirty','False','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('mlflow.runName','pico-blockshuffle-b2-c1.13e10-lr200000-seed1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('hardware','AMD EPYC (2 CPUs)','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('precision','fp32','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('kernel_path','attention=sdpa bias_activation=torch block_dense=torch block_shuffle=torch cross_entropy=torch feed_forward=torch gemm=onednn rotary=torch self_guided=torch','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('num_threads','1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('torch','2.13.0+cpu','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('cuda','None','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('triton','3.7.1','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('python','3.11.7','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('host','workstation','b2a970cf07794884b1c49eb7fdc04571');
INSERT INTO "tags" VALUES('mlflow.parentRunId','7fc03e4c76a7464e96dc3fa9f987e50a','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('study','recorded','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('point_id','pico-blockdense-r12-b2-c1.08e10-lr0.001-seed0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('fingerprint','7bf5bf402276d35c','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('identity','{"model": {"position": "rope", "rope_base": 10000.0, "rope_interpolation": 1.0, "norm": "layernorm", "activation": "gelu", "tie_embeddings": true, "bias": true, "dropout": 0.0, "inverse_layer_scale": false, "vocab_size": 257, "block_size": 128, "num_layers": 2, "hidden_dim": 32, "ffn_dim": 128, "attn_dim": 32, "num_heads": 2, "num_kv_heads": 2, "ffn": {"kind": "blockdense", "rank": 12, "nblocks": 2, "keep_first_dense": true}, "guide": null}, "data": {"source": "python-stdlib", "tokenizer": "byte", "val_fraction": 0.05, "fingerprint": "e09c3d3cebdbb493"}, "optimizer": {"min_learning_rate_ratio": 0.1, "warmup_fraction": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay": "all", "max_grad_norm": 1.0, "learning_rate": 0.001}, "batch_size": 16, "steps": 20, "seed": 0, "eval_tokens": 8192}','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('variant','{"preset":"pico","ffn":{"kind":"blockdense","nblocks":2,"fraction":0.3125},"learning_rate":0.001}','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('status','finished','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('dirty','False','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('mlflow.runName','pico-blockdense-r12-b2-c1.08e10-lr0.001-seed0','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('hardware','AMD EPYC (2 CPUs)','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('precision','fp32','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('kernel_path','attention=sdpa bias_activation=torch block_dense=torch block_shuffle=torch cross_entropy=torch feed_forward=torch gemm=onednn rotary=torch self_guided=torch','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('num_threads','1','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('torch','2.13.0+cpu','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('cuda','None','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('triton','3.7.1','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('python','3.11.7','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('host','workstation','96040148cb4742be9a42d202b746391b');
INSERT INTO "tags" VALUES('mlflow.parentRunId','7fc03e4c76a7464e96dc3fa9f987e50a','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('study','recorded','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('point_id','pico-lowrank-r8-c1.07e10-seed0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('fingerprint','1bbff530c273b9fe','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('identity','{"model": {"position": "rope", "rope_base": 10000.0, "rope_interpolation": 1.0, "norm": "layernorm", "activation": "gelu", "tie_embeddings": true, "bias": true, "dropout": 0.0, "inverse_layer_scale": false, "vocab_size": 257, "block_size": 128, "num_layers": 2, "hidden_dim": 32, "ffn_dim": 128, "attn_dim": 32, "num_heads": 2, "num_kv_heads": 2, "ffn": {"kind": "lowrank", "rank": 8, "nblocks": null, "keep_first_dense": true}, "guide": null}, "data": {"source": "python-stdlib", "tokenizer": "byte", "val_fraction": 0.05, "fingerprint": "e09c3d3cebdbb493"}, "optimizer": {"min_learning_rate_ratio": 0.1, "warmup_fraction": 0.1, "betas": [0.9, 0.999], "weight_decay": 0.1, "decay": "all", "max_grad_norm": 1.0, "learning_rate": 0.006}, "batch_size": 16, "steps": 20, "seed": 0, "eval_tokens": 8192}','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('variant','{"preset":"pico","ffn":{"kind":"lowrank","fraction":0.3125}}','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('status','finished','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('commit','7059145b5fb0945209969782096f2f68323a881d','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('dirty','False','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('mlflow.runName','pico-lowrank-r8-c1.07e10-seed0','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('hardware','AMD EPYC (2 CPUs)','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('precision','fp32','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('kernel_path','attention=sdpa bias_activation=torch block_dense=torch block_shuffle=torch cross_entropy=torch feed_forward=torch gemm=onednn rotary=torch self_guided=torch','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('num_threads','1','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('torch','2.13.0+cpu','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('cuda','None','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('triton','3.7.1','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('python','3.11.7','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('host','workstation','dc01066d486f4ad88d0d773be3bb9c4e');
INSERT INTO "tags" VALUES('hardware','AMD EPYC (2 CPUs)','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('precision','fp32','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('kernel_path','attention=sdpa bias_activation=torch block_dense=torch block_shuffle=torch cross_entropy=torch feed_forward=torch gemm=onednn rotary=torch self_guided=torch','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('num_threads','1','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('torch','2.13.0+cpu','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('cuda','None','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('triton','3.7.1','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('python','3.11.7','3fc181481f644267acc284be368fa5e6');
INSERT INTO "tags" VALUES('host','workstation','3fc181481f644267acc284be368fa5e6');
CREATE TABLE "trace_info" (
	request_id VARCHAR(50) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	timestamp_ms BIGINT NOT NULL, 
	execution_time_ms BIGINT, 
	status VARCHAR(50) NOT NULL, 
	client_request_id VARCHAR(50), 
	request_preview VARCHAR(1000), 
	response_preview VARCHAR(1000), 
	db_payload_generation INTEGER DEFAULT '0' NOT NULL, trace_name VARCHAR(4096), session_id VARCHAR(250), input_tokens BIGINT, output_tokens BIGINT, total_tokens BIGINT, cache_read_input_tokens BIGINT, cache_creation_input_tokens BIGINT, cache_creation_input_tokens_above_1hr BIGINT, input_cost FLOAT, output_cost FLOAT, total_cost FLOAT, 
	CONSTRAINT trace_info_pk PRIMARY KEY (request_id), 
	CONSTRAINT fk_trace_info_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id) ON DELETE CASCADE
);
CREATE TABLE trace_metrics (
	request_id VARCHAR(50) NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT, 
	CONSTRAINT trace_metrics_pk PRIMARY KEY (request_id, "key"), 
	CONSTRAINT fk_trace_metrics_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE "trace_request_metadata" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_request_metadata_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_request_metadata_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE "trace_tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000), 
	request_id VARCHAR(50) NOT NULL, 
	CONSTRAINT trace_tag_pk PRIMARY KEY ("key", request_id), 
	CONSTRAINT fk_trace_tags_request_id FOREIGN KEY(request_id) REFERENCES trace_info (request_id) ON DELETE CASCADE
);
CREATE TABLE webhook_events (
	webhook_id VARCHAR(256) NOT NULL, 
	entity VARCHAR(50) NOT NULL, 
	action VARCHAR(50) NOT NULL, 
	CONSTRAINT webhook_event_pk PRIMARY KEY (webhook_id, entity, action), 
	FOREIGN KEY(webhook_id) REFERENCES webhooks (webhook_id) ON DELETE cascade
);
CREATE TABLE "webhooks" (
	webhook_id VARCHAR(256) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	description VARCHAR(1000), 
	url VARCHAR(500) NOT NULL, 
	status VARCHAR(20) DEFAULT 'ACTIVE' NOT NULL, 
	secret VARCHAR(1000), 
	creation_timestamp BIGINT, 
	last_updated_timestamp BIGINT, 
	deleted_timestamp BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT webhook_pk PRIMARY KEY (webhook_id)
);
CREATE TABLE workspaces (
	name VARCHAR(63) NOT NULL, 
	description TEXT, 
	default_artifact_root TEXT, trace_archival_location TEXT, trace_archival_retention VARCHAR(32), 
	CONSTRAINT workspaces_pk PRIMARY KEY (name)
);
INSERT INTO "workspaces" VALUES('default','Default workspace for legacy resources',NULL,NULL,NULL);
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_latest_metrics_run_uuid ON latest_metrics (run_uuid);
CREATE INDEX index_inputs_input_uuid ON inputs (input_uuid);
CREATE INDEX index_inputs_destination_type_destination_id_source_type ON inputs (destination_type, destination_id, source_type);
CREATE INDEX index_params_run_uuid ON params (run_uuid);
CREATE INDEX index_trace_tags_request_id ON trace_tags (request_id);
CREATE INDEX index_trace_request_metadata_request_id ON trace_request_metadata (request_id);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_datasets_dataset_uuid ON datasets (dataset_uuid);
CREATE INDEX index_datasets_experiment_id_dataset_source_type ON datasets (experiment_id, dataset_source_type);
CREATE INDEX index_logged_model_metrics_model_id ON logged_model_metrics (model_id);
CREATE INDEX index_entity_associations_association_id ON entity_associations (association_id);
CREATE INDEX index_entity_associations_reverse_lookup ON entity_associations (destination_type, destination_id, source_type, source_id);
CREATE INDEX idx_webhook_events_entity ON webhook_events (entity);
CREATE INDEX idx_webhook_events_action ON webhook_events (action);
CREATE INDEX idx_webhook_events_entity_action ON webhook_events (entity, action);
CREATE UNIQUE INDEX index_scorers_experiment_id_scorer_name ON scorers (experiment_id, scorer_name);
CREATE INDEX index_scorer_versions_scorer_id ON scorer_versions (scorer_id);
CREATE INDEX index_evaluation_dataset_tags_dataset_id ON evaluation_dataset_tags (dataset_id);
CREATE INDEX index_evaluation_dataset_records_dataset_id ON evaluation_dataset_records (dataset_id);
CREATE INDEX index_endpoint_model_mappings_endpoint_id ON endpoint_model_mappings (endpoint_id);
CREATE INDEX index_endpoint_model_mappings_model_definition_id ON endpoint_model_mappings (model_definition_id);
CREATE INDEX index_endpoint_tags_endpoint_id ON endpoint_tags (endpoint_id);
CREATE INDEX index_trace_metrics_request_id ON trace_metrics (request_id);
CREATE UNIQUE INDEX unique_endpoint_model_linkage_mapping ON endpoint_model_mappings (endpoint_id, model_definition_id, linkage_type);
CREATE INDEX index_span_metrics_trace_id_span_id ON span_metrics (trace_id, span_id);
CREATE INDEX index_evaluation_datasets_created_time ON evaluation_datasets (created_time);
CREATE INDEX index_evaluation_datasets_name ON evaluation_datasets (name);
CREATE INDEX idx_webhooks_name ON webhooks (name);
CREATE INDEX idx_webhooks_status ON webhooks (status);
CREATE TRIGGER prevent_secrets_aad_mutation
BEFORE UPDATE ON secrets
FOR EACH ROW
WHEN OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name
BEGIN
    SELECT RAISE(ABORT, 'secret_id and secret_name are immutable (used as AAD in encryption)');
END;
CREATE INDEX index_model_definitions_secret_id ON model_definitions (secret_id);
CREATE INDEX index_model_definitions_provider ON model_definitions (provider);
CREATE INDEX index_jobs_name_status_creation_time ON jobs (job_name, workspace, status, creation_time);
CREATE INDEX idx_experiments_workspace ON experiments (workspace);
CREATE INDEX idx_registered_models_workspace ON registered_models (workspace);
CREATE INDEX idx_experiments_workspace_creation_time ON experiments (workspace, creation_time);
CREATE INDEX idx_evaluation_datasets_workspace ON evaluation_datasets (workspace);
CREATE INDEX idx_webhooks_workspace ON webhooks (workspace);
CREATE INDEX idx_secrets_workspace ON secrets (workspace);
CREATE INDEX idx_endpoints_workspace ON endpoints (workspace);
CREATE INDEX idx_model_definitions_workspace ON model_definitions (workspace);
CREATE INDEX idx_budget_policies_workspace ON budget_policies (workspace);
CREATE INDEX index_issues_experiment_id ON issues (experiment_id);
CREATE INDEX index_issues_source_run_id ON issues (source_run_id);
CREATE INDEX index_issues_status ON issues (status);
CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, "key", step);
CREATE INDEX idx_guardrails_workspace ON guardrails (workspace);
CREATE INDEX idx_guardrails_scorer ON guardrails (scorer_id, scorer_version);
CREATE INDEX idx_guardrail_configs_endpoint_id ON guardrail_configs (endpoint_id);
CREATE INDEX idx_guardrail_configs_guardrail_id ON guardrail_configs (guardrail_id);
CREATE INDEX idx_model_version_tags_workspace_name_version ON model_version_tags (workspace, name, version);
CREATE INDEX idx_registered_model_tags_workspace_name ON registered_model_tags (workspace, name);
CREATE INDEX index_label_schemas_experiment_id ON label_schemas (experiment_id);
CREATE INDEX index_review_queues_experiment_id ON review_queues (experiment_id);
CREATE INDEX index_review_queue_users_user_id ON review_queue_users (user_id);
CREATE INDEX index_review_queue_items_queue_id_status ON review_queue_items (queue_id, status);
CREATE INDEX index_review_queue_items_item_id ON review_queue_items (item_id);
CREATE INDEX index_review_queue_label_schemas_schema_id ON review_queue_label_schemas (schema_id);
CREATE INDEX idx_mcp_server_versions_latest ON mcp_server_versions (workspace, name, status, version_major DESC, version_minor DESC, version_patch DESC);
CREATE INDEX ix_mcp_access_endpoints_server_name ON mcp_access_endpoints (workspace, server_name);
CREATE INDEX ix_mcp_access_endpoints_version ON mcp_access_endpoints (workspace, server_name, server_version);
CREATE INDEX ix_mcp_access_endpoints_alias ON mcp_access_endpoints (workspace, server_name, server_alias);
CREATE INDEX idx_budget_policies_target_value ON budget_policies (target_value);
CREATE INDEX index_trace_info_experiment_id_timestamp_ms ON trace_info (experiment_id, timestamp_ms);
CREATE INDEX index_trace_info_timestamp_ms_request_id ON trace_info (timestamp_ms, request_id);
CREATE INDEX index_assessments_trace_id_created_timestamp ON assessments (trace_id, created_timestamp);
CREATE INDEX index_assessments_last_updated_timestamp ON assessments (last_updated_timestamp);
CREATE INDEX index_assessments_run_id_created_timestamp ON assessments (run_id, created_timestamp);
CREATE INDEX index_assessments_assessment_type ON assessments (assessment_type);
CREATE INDEX index_spans_experiment_id_type_status ON spans (experiment_id, type, status);
CREATE INDEX index_spans_experiment_id_status_type ON spans (experiment_id, status, type);
CREATE INDEX index_spans_experiment_id_start_time ON spans (experiment_id, start_time_unix_nano);
CREATE INDEX index_spans_experiment_id_duration ON spans (experiment_id, duration_ns);
CREATE INDEX index_trace_info_experiment_id_session_id ON trace_info (experiment_id, session_id);
CREATE INDEX idx_trace_rollups_lookup ON sql_trace_metric_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set, trace_status);
CREATE INDEX idx_span_cost_rollups_lookup ON sql_span_cost_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set, model_name, model_provider);
CREATE INDEX idx_assessment_rollups_lookup ON sql_assessment_daily_rollups (experiment_id, rollup_day, metric_name, grouping_set);
CREATE INDEX idx_spans_cost_trace_time_cover ON spans (trace_id, start_time_unix_nano);
CREATE INDEX idx_spans_cost_exp_time_cover ON spans (experiment_id, start_time_unix_nano);
CREATE INDEX idx_assessments_exp_trace_ts ON assessments (experiment_id, trace_timestamp_ms);
CREATE INDEX idx_assessments_exp_trace_ts_name ON assessments (experiment_id, trace_timestamp_ms, name);
CREATE INDEX idx_assessments_exp_name_valid ON assessments (experiment_id, name, valid);
CREATE INDEX index_job_locks_job_id ON job_locks (job_id);
CREATE INDEX index_jobs_status_lease_expires_at ON jobs (status, lease_expires_at);
COMMIT;
