"""App: what people see and type: the command line, the dashboards, the doctor, the exercises."""
