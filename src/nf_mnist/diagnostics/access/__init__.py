"""How checks call a flow: its forms, its layers, its events, and copies of it on which experiments leave no trace."""
